# One static binary on an empty root, run by nobody in particular.
#
#   docker build -t hydrant --build-arg VERSION="$(git describe --tags --always)" .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges \
#     -v hydrant-data:/var/lib/hydrant -v ./hydrant.yaml:/etc/hydrant/hydrant.yaml:ro -p 8080:8080 hydrant
#
# Everything that must survive lies in /var/lib/hydrant (data_dir's default). Nothing else is written, /tmp neither.
# docker stop sends SIGTERM: give it longer than shutdown.grace (docker stop -t 30). Is it well:
#   docker exec CONTAINER hydrant status
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X main.stamped=$VERSION" -o /root-fs/usr/bin/hydrant ./cmd/hydrant \
 && mkdir -p /root-fs/etc/hydrant /root-fs/etc/ssl/certs \
 && cp /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/ \
 && mkdir -p -m 0700 /data

FROM scratch
COPY --from=build /root-fs/ /
COPY --from=build --chown=65532:65532 /data /var/lib/hydrant
ENV PATH=/usr/bin
USER 65532:65532
VOLUME /var/lib/hydrant
STOPSIGNAL SIGTERM
ENTRYPOINT ["hydrant"]
CMD ["run", "-c", "/etc/hydrant/hydrant.yaml"]
