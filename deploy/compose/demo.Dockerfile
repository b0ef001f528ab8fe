# The demo service of deploy/demo for a machine with a registry: a static busybox and scripts.
ARG BUSYBOX=busybox:1.36.1-musl
FROM ${BUSYBOX} AS busybox
FROM scratch
COPY --from=busybox /bin/busybox /bin/busybox
COPY service /service
ENV PATH=/bin PORT=8000 SERVICE_VERSION=1.4.2 LOG_LEVEL=info
ENTRYPOINT ["/bin/busybox", "sh", "/service/run"]
