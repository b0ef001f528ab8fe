from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure import templates
from infrastructure.errors import PermanentError
from tests.unit.operations import shipped

CONTEXT: dict[str, Any] = {
    "parameters": {
        "text": "8080",
        "number": 3,
        "nothing": None,
        "yes": True,
        "items": ["a", "b"],
        "long": "x" * 60_000,
    },
    "service": {"spec": {"env": {"_JAVA_OPTIONS": "-Xmx1g", "A": "1"}}},
}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ parameters.text }}", "8080"),
        ("{{parameters.number}}", 3),
        ("{{- parameters.number -}}", 3),
        ("{{ parameters.nothing }}", None),
        ("{{ parameters.yes }}", True),
        ("{{ parameters.items }}", ["a", "b"]),
        ("{{ parameters['items'][1] }}", "b"),
        ("{{ service.spec.env['_JAVA_OPTIONS'] }}", "-Xmx1g"),
        ("{{ parameters.text | int + 1 }}", 8081),
        ("{{ parameters.missing | default(4) }}", 4),
        ("{{ parameters.missing.deeper | default('x') }}", "x"),
        ("{{ parameters.nothing | default(4, true) }}", 4),
        ("{{ parameters.text == '8080' }}", True),
        ("{{ 'b' in parameters.items and not parameters.nothing }}", True),
        ("{{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("{{ '}}' }}", "}}"),
        ("{{ 9 * 9 % 4 }}", 1),
        ("{{ parameters.items | join('-') }}", "a-b"),
        ("{{ parameters.text | replace('80', '1') }}", "11"),
        ("{{ parameters.items | tojson }}", '["a", "b"]'),
        ("port {{ parameters.text }}, {{ parameters.yes }}\n", "port 8080, true\n"),
        (" {{ parameters.number }}", " 3"),
        ('up{job="x"} > 0', 'up{job="x"} > 0'),
        ("no template }}", "no template }}"),
        ("", ""),
        (7, 7),
        (None, None),
    ],
)
def test_a_template_gives_the_value_with_its_type(template: Any, value: Any) -> None:
    rendered = templates.render(template, CONTEXT)
    assert rendered == value
    assert type(rendered) is type(value)


def test_nested_data_is_rendered_and_its_keys_are_not() -> None:
    data = {"{{ key }}": ["{{ parameters.number }}", ("{{ parameters.text }}",)], "n": 1}
    assert templates.render(data, CONTEXT) == {"{{ key }}": [3, ["8080"]], "n": 1}


@given(value=JSON)
def test_a_lone_expression_hands_any_data_on_unchanged(value: Any) -> None:
    rendered = templates.render("{{ parameters.x }}", {"parameters": {"x": value}})
    assert rendered == value
    assert type(rendered) is type(value)


@given(text=st.text(max_size=60))
def test_a_rendered_value_is_never_rendered_again(text: str) -> None:
    context = {"x": "{{ 1 + 1 }}" + text}
    assert templates.render("{{ x }}", context) == "{{ 1 + 1 }}" + text
    assert templates.render("<{{ x }}>", context) == "<{{ 1 + 1 }}" + text + ">"


@given(text=st.text(alphabet="{}%#'\"ax1 .|()[]*_\n", max_size=40))
def test_any_text_renders_or_is_refused_in_one_line(text: str) -> None:
    refusal = "template"
    try:
        templates.render(text, {"x": 1, "a": "b"})
    except PermanentError as exc:
        refusal = str(exc)
    assert refusal.startswith("template")
    assert "\n" not in refusal


def test_a_handed_out_value_is_a_copy() -> None:
    items = ["a"]
    templates.render("{{ x }}", {"x": items}).append("b")
    assert items == ["a"]


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{{ parameters.typo }}", "nothing is named 'typo'"),
        ("{{ parameters.nothing.deeper }}", "nothing is named 'deeper'"),
        ("{{ parameters.number.real }}", "nothing is named 'real'"),
        ("{{ parameters.items['x'] }}", "nothing is named 'x'"),
        ("{{ typo }}", "'typo' is undefined"),
        ("a {{ parameters.nothing }} b", "gives nothing"),
        ("a {{ parameters.items }} b", "a list or mapping"),
        ("{{ 1 if false }}", "no else"),
        ("{{ 1 + }}", "unexpected"),
        ("{{}}", "unexpected"),
        ("{{ parameters.text", "}} is missing"),
        ("{% for x in parameters %}{% endfor %}", "only {{ expression }}"),
        ("{% import 'os' as os %}", "only {{ expression }}"),
        ("{% set x = 1 %}", "only {{ expression }}"),
        ("{# comment #}", "only {{ expression }}"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 1 + 'a' }}", "unsupported operand"),
        ("{{ parameters.text | shout }}", "No filter named 'shout'"),
        ("{{ 1e999 }}", "inf"),
        ("{{ 1e308 * 10 }}", "not a finite number"),
        ("{{ " + "9" * 900 + " }}", "too large a number"),
        ("{{ x }}" + "y" * templates.MAX_TEMPLATE_CHARS, "longer than"),
    ],
)
def test_a_mistake_names_the_template_and_what_is_wrong(template: str, what: str) -> None:
    with pytest.raises(PermanentError) as caught:
        templates.render(template, CONTEXT)
    message = str(caught.value)
    assert what in message
    assert template[:20] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ parameters.__init__ }}",
        "{{ parameters | attr('__class__') }}",
        "{{ parameters | map(attribute='__class__') }}",
        "{{ 'a' | xmlattr }}",
        "{{ self }}",
        "{{ self.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ cycler.__init__.__globals__.os.popen('id') }}",
        "{{ lipsum(n=100000000) }}",
        "{{ namespace(a=1) }}",
        "{{ dict(a=1) }}",
        "{{ parameters.get('text') }}",
        "{{ parameters.text.upper() }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ parameters.text.format }}",
        "{{ config }}",
        "{{ super() }}",
        "{{ import('os') }}",
        "{{ _ }}",
    ],
)
def test_no_way_out_of_the_sandbox(attack: str) -> None:
    with pytest.raises(PermanentError):
        templates.render(attack, CONTEXT)


@pytest.mark.parametrize(
    "bomb",
    [
        "{{ range(999999999) }}",
        "{{ range(999999999) | list }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 1000000000 * 'x' }}",
        "{{ [1] * 1000000000 }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ '%0999999999d' % 1 }}",
        "{{ 'x' | center(999999999) }}",
        "{{ 'x' | indent(999999999) }}",
        "{{ '%0999999999d' | format(1) }}",
        "{{ parameters.long | replace('x', parameters.long) }}",
        "{{ parameters.long | join(parameters.long) }}",
        "{{ " + " ~ ".join(["parameters.long"] * 150) + " }}",
        "{{ parameters.long }}" * 20,
        "{{ " + "(" * 1900 + "1" + ")" * 1900 + " }}",
        "{{ " + "[" * 1900 + "1" + "]" * 1900 + " }}",
        "{{ " + "not " * 900 + "1 }}",
        "{{ " + "[" * 60 + "]" * 60 + " }}",
    ],
)
def test_a_bomb_is_refused_at_once(bomb: str) -> None:
    before = time.process_time()
    with pytest.raises(PermanentError):
        templates.render(bomb, CONTEXT)
    assert time.process_time() - before < 3


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        (None, True),
        (True, True),
        (False, False),
        ("{{ parameters.text == '8080' }}", True),
        ("{{ parameters.nothing }}", False),
        ("{{ parameters.items }}", True),
        ("{{ parameters.number - 3 }}", False),
    ],
)
def test_a_condition(when: str | bool | None, holds: bool) -> None:
    assert templates.render_condition(when, CONTEXT) is holds


@pytest.mark.parametrize("when", ["false", "{{ 'false' }}", "{{ parameters.yes }}!"])
def test_a_condition_that_gives_text_is_refused(when: str) -> None:
    with pytest.raises(PermanentError, match="must not give text"):
        templates.render_condition(when, CONTEXT)


def test_check_finds_what_is_wrong_without_a_context() -> None:
    value = {"a": ["{{ fine }}", "{{ wrong +"], "b": "{% raw %}", "c": 3}
    assert len(templates.check(value)) == 2


@pytest.mark.parametrize(
    ("value", "answer"),
    [({"a": ["{{ x }}"]}, True), ({"a": ["x", 1]}, False), ('up{job="x"}', False)],
)
def test_whether_data_holds_a_template(value: Any, answer: bool) -> None:
    assert templates.is_template(value) is answer


def test_a_service_has_the_names_of_its_file() -> None:
    service = shipped.service(
        resources={"memory": "256Mi"},
        env={"KEY": {"secret": "env:SHOP_KEY"}},
        dependsOn=["db"],
        ports=["18000:8000"],
    )
    context = {"service": templates.service_data(service)}
    assert templates.render("{{ service.spec.resources.memory }}", context) == "256Mi"
    assert templates.render("{{ service.spec.resources.cpu }}", context) is None
    assert templates.render("{{ service.spec.dependsOn[0] }}", context) == "db"
    assert templates.render("{{ service.spec.ports[0].container }}", context) == 8000
    assert templates.render("{{ service.spec.env.KEY.secret }}", context) == "env:SHOP_KEY"
    assert templates.render("{{ service.metadata.name }}", context) == "shop"
