"""How many tokens a text may be, by a cautious estimate: no tokenizer fits every model."""

# Tokens are about four characters of English; logs, digits and other scripts are denser.
BYTES_PER_TOKEN = 3


def estimate_tokens(text: str) -> int:
    """A cautious count: rather too many than too few for logs in any script."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
