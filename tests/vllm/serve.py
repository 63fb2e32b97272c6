"""Start vLLM's own server as AWS's container does, on CPUs: `python serve.py serve`.

The local cloud runs this in place of the image. It is run by vLLM's own Python, without this
project's packages. `sagemaker_entrypoint.sh` of AWS's container turns each variable SM_VLLM_NAME
into an argument --name.
"""

import os
import resource
import sys

PREFIX = "SM_VLLM_"
ADDRESS_SPACE = int(os.environ.get("SLUICE_VLLM_ADDRESS_SPACE", 10 * 2**30))
ON_CPU = {
    "OMP_NUM_THREADS": "2",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    # Less memory and time at the start, for answers that take longer.
    "TORCHDYNAMO_DISABLE": "1",
}


def arguments(environment: dict[str, str]) -> list[str]:
    """Return the arguments that the container's variables stand for."""
    found = ["--host", "127.0.0.1", "--port", environment["SAGEMAKER_BIND_TO_PORT"]]
    for name, value in sorted(environment.items()):
        if name.startswith(PREFIX):
            if name == f"{PREFIX}MODEL":  # /opt/ml/model, which a process has elsewhere
                value = environment["SLUICE_MODEL_DIR"]
            if value == "false":
                continue
            found.append("--" + name.removeprefix(PREFIX).lower().replace("_", "-"))
            found += [] if value in ("", "true") else [value]
    return [*found, "--enforce-eager", "--dtype", "float32"]


def main() -> None:
    """Become the server, with bounds on its memory and its share of the processor."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    os.nice(10)
    server = "vllm.entrypoints.openai.api_server"
    command = [sys.executable, "-m", server, *arguments(dict(os.environ))]
    kept = {name: it for name, it in os.environ.items() if not name.startswith(PREFIX)}
    os.execve(sys.executable, command, {**kept, **ON_CPU})  # noqa: S606 - it takes this place


if __name__ == "__main__":
    main()
