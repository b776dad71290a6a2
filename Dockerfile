# One static binary and nothing else: no shell, no package manager, no root.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN make build VERSION="$VERSION" && mkdir -p /image/data && cp bin/memstore /image/

FROM scratch
COPY --from=build /image/memstore /memstore
COPY --from=build --chown=65532:65532 --chmod=0700 /image/data /data
USER 65532:65532
ENV MEMSTORE_DATA=/data \
    MEMSTORE_GATEWAY=:8080
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["/memstore", "health"]
ENTRYPOINT ["/memstore"]
CMD ["serve"]
