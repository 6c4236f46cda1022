# The image of the server. docs/container.md says how to build, run and check it.
#
#   docker build -t bitdial .
#   docker build -t bitdial:cuda --build-arg BACKEND=cuda .      what there is of the CUDA backend
#
# Build arguments
#   BASE      a Debian 12, for both stages
#   BACKEND   cpu or cuda
#   COMMIT    what the label and `bitdial --version` call the source: .git is not sent to the build
ARG BASE=debian:12-slim

FROM ${BASE} AS build
WORKDIR /src
# By itself, so that a change of the source installs nothing again.
COPY scripts/install_deps.sh scripts/
RUN ./scripts/install_deps.sh

# NVIDIA's compiler from its own PyPI packages: there is no CUDA image on Debian. The CUDA runtime is linked statically and
# the driver comes from the host, so nothing of this is needed in the image that runs.
ARG BACKEND=cpu
RUN case "$BACKEND" in \
      cpu) ;; \
      cuda) python3 -m pip install --quiet --disable-pip-version-check --no-deps --target /opt/cuda \
              nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 \
              && ln -s lib /opt/cuda/nvidia/cu13/lib64 ;; \
      *) echo "BACKEND is \"$BACKEND\", expected cpu or cuda" >&2; exit 2 ;; \
    esac

COPY . .
ENV CUDACXX=/opt/cuda/nvidia/cu13/bin/nvcc
RUN cmake --preset "$(if [ "$BACKEND" = cuda ]; then echo cuda; else echo release; fi)" -B /build -DBITDIAL_TESTS=OFF \
    && cmake --build /build
# After the rest, so that another commit of the same source compiles one file.
ARG COMMIT=unknown
RUN cmake -B /build -DBITDIAL_COMMIT="$COMMIT" && cmake --build /build && cd /build && cpack -B /package

FROM ${BASE}
# The package names the libraries that the executable loads; apt brings them and nothing else. Copied, not mounted: not every
# builder sees that a mounted file has changed. No file keeps the right to run as another user.
COPY --from=build /package/*.deb /package/
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends /package/*.deb \
    && rm -rf /package /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +

ARG COMMIT=unknown
LABEL org.opencontainers.image.title="Bitdial" \
      org.opencontainers.image.description="LLM inference server whose requests say how many bits of the weights they read" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${COMMIT}"

# A number, so that Kubernetes' runAsNonRoot can check it; no account has it. Nothing is written anywhere.
USER 65532:65532
EXPOSE 50051
STOPSIGNAL SIGTERM
# Asks the port of container.json, or BITDIAL_SERVER. The start period is for reading the weights: failures in it do not
# count, and a success ends it.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=10m CMD ["bitdial", "client", "--health", "--timeout", "4"]
ENTRYPOINT ["bitdial"]
CMD ["serve", "/model", "--config", "/usr/share/bitdial/configs/container.json"]
