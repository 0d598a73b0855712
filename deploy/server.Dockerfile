# A policy for robots on a network, without ROS. From the repository's root:
#   docker build -f deploy/server.Dockerfile -t vla_policy:server .
#   docker run --rm -p 8000:8000 -v ~/vla_token:/run/secrets/vla_token:ro vla_policy:server tiny --host 0.0.0.0 --token-file /run/secrets/vla_token
# With an NVIDIA card: --build-arg TORCH_INDEX=https://pypi.org/simple, then docker run --gpus all.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM python:3.12-slim-bookworm
# The index that PyTorch comes from: CPU wheels unless told otherwise.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=build /dist /dist
RUN pip install --no-cache-dir torch==2.13.0 --extra-index-url ${TORCH_INDEX} \
 && pip install --no-cache-dir "$(ls /dist/*.whl)[serve]" \
 && rm -r /dist
# The token's file must belong to this user: chown 10001 vla_token.
RUN useradd --uid 10001 --create-home vla
USER vla
EXPOSE 8000
ENTRYPOINT ["vla", "serve"]
CMD ["--help"]
