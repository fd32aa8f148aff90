"""Run the model in PyTorch. On CUDA, the whole pipeline is one CUDA graph per shape."""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from pirig import envvars
from pirig.errors import ConfigError
from pirig.models import pi0_torch, weights
from pirig.models.config import ModelConfig
from pirig.models.sampling import Batch, prefix_layout, suffix_positions
from pirig.text import unknown

_MAX_SHAPES = 64  # that torch.compile generates code for
_WARM_UP_RUNS = 3  # before a graph is captured, so that libraries have chosen their kernels and workspaces


class Quantized(Protocol):
    """Quantized is the part of a pack's interface that a backend uses."""

    @property
    def weights(self) -> Collection[str]:
        """Names of the tensors that need not be loaded."""
        ...

    def install(self, model: torch.nn.Module, device: torch.device) -> None: ...

    def report(self, model: torch.nn.Module) -> dict[str, Any]: ...


def find(device: str | None) -> torch.device:
    """Return the named device; by default, CUDA if available, else the CPU. Raises ConfigError if it does not exist."""
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if device and device not in ("cpu", *gpus, *(["cuda"] if gpus else [])):
        raise ConfigError(unknown("PyTorch device", device, ["cpu", *gpus]))
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


class TorchBackend:
    """A PyTorch backend implements `backends.Backend`."""

    name = "torch"

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        config: ModelConfig,
        *,
        dtype: str,
        device: str | None = None,
        compile: bool = False,
        quantized: "Quantized | None" = None,
    ):
        """Load the weights onto a device.

        Args:
            arrays: a state dict or tree.
            device: cpu, cuda, cuda:1, …; default: CUDA if available.
            compile: compile the model with torch.compile.
            quantized: quantized layers that replace some of the model's layers.

        Raises ConfigError if the device does not exist.
        """
        envvars.export({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}, override=False)  # CUDA reads it when it starts
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False  # float32 must not silently become TF32
        self._device = find(device)
        self.device = "cpu" if self._device.type == "cpu" else torch.cuda.get_device_name(self._device)
        self._config = config
        without = quantized.weights if quantized else ()
        tensors = ((name, tensor(array)) for name, array in weights.as_torch(arrays, config, without=without))
        self.quantization: dict[str, Any] = {}

        def replace(model: pi0_torch.Pi0) -> None:
            if quantized:
                quantized.install(model, self._device)

        with torch.inference_mode():
            self._model = pi0_torch.model(tensors, config, getattr(torch, dtype), self._device, replace=replace)
            if quantized:
                self.quantization = quantized.report(self._model)
            self._tables = pi0_torch.tabulate(self._model, config)
        self._compiles = compile
        if compile:
            torch._dynamo.config.recompile_limit = _MAX_SHAPES  # ty: ignore[invalid-assignment]
        self._sample = torch.compile(pi0_torch.sample, fullgraph=True, dynamic=False) if compile else pi0_torch.sample
        self._graphs: dict[tuple[int, ...], _Graph] = {}
        self._pool = torch.cuda.graph_pool_handle() if self._device.type == "cuda" else None

    def compile(self, batches: Sequence[Batch], *, trim: bool) -> None:
        """Run every shape once. If nothing is compiled, run the cheapest one only, to initialize the libraries.

        Nothing is compiled on a CPU without torch.compile.
        """
        for batch in batches if self._device.type == "cuda" or self._compiles else batches[:1]:
            self.sample(batch, trim=trim)

    @torch.inference_mode()
    def sample(self, batch: Batch, *, trim: bool) -> np.ndarray:
        inputs = inputs_of(batch, self._config)
        if self._device.type != "cuda":
            return self._run(inputs, trim).numpy()
        key = (*batch.images.shape[:2], batch.tokens.shape[1], trim)
        if key not in self._graphs:
            run = functools.partial(self._run, trim=trim)
            self._graphs[key] = _Graph(run, pi0_torch.Inputs(*(x.to(self._device) for x in inputs)), self._pool)
        return self._graphs[key].replay(inputs).cpu().numpy()

    @torch.inference_mode()
    def parts(self, batch: Batch) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield vision, prefix and denoising as calls that return when the device has finished.

        Each call needs the results of the calls before it.
        """
        inputs = pi0_torch.Inputs(*(x.to(self._device) for x in inputs_of(batch, self._config)))
        w, config, made = self._model, self._config, {}

        def timed(work: Callable[[], object]) -> Callable[[], object]:
            def run() -> None:
                with torch.inference_mode():
                    made[work] = work()
                if self._device.type == "cuda":
                    torch.cuda.synchronize(self._device)

            return run

        def vision() -> torch.Tensor:
            return pi0_torch.embed_prefix(inputs, w, config)[0]

        def prefix() -> pi0_torch.Cache:
            return pi0_torch.fill_cache(made[vision], inputs, w, config, trim=True)

        def denoising() -> torch.Tensor:
            return pi0_torch.denoise(inputs, made[prefix], w, self._tables, config)

        for work in (vision, prefix, denoising):
            yield work.__name__, timed(work)

    def _run(self, inputs: pi0_torch.Inputs, trim: bool) -> torch.Tensor:
        return self._sample(inputs, self._model, self._tables if trim else None, self._config)


class _Graph:
    """A CUDA graph holds one captured run of the whole pipeline and the buffers that it reads and writes.

    All graphs share one memory pool. This is safe because they are replayed one at a time and each output is read
    before the next replay.
    """

    def __init__(self, run: Callable[[pi0_torch.Inputs], torch.Tensor], inputs: pi0_torch.Inputs, pool: Any):
        self._inputs = inputs
        side = torch.cuda.Stream(inputs.noise.device)
        side.wait_stream(torch.cuda.current_stream(inputs.noise.device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_RUNS):
                run(inputs)
        torch.cuda.current_stream(inputs.noise.device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._output = run(inputs)

    def replay(self, inputs: pi0_torch.Inputs) -> torch.Tensor:
        """Replay the graph on new inputs. The next replay overwrites the returned tensor."""
        for own, new in zip(self._inputs, inputs, strict=True):
            own.copy_(new, non_blocking=True)
        self._graph.replay()
        return self._output


def inputs_of(batch: Batch, config: ModelConfig) -> pi0_torch.Inputs:
    """Convert a batch to the model's inputs, as tensors on the CPU."""
    mask, positions = prefix_layout(batch, config.vision.tokens)
    after = suffix_positions(mask, config)
    arrays = (batch.images, batch.tokens, mask, positions, after, batch.state, batch.noise)
    return pi0_torch.Inputs(*(torch.from_numpy(np.ascontiguousarray(x)) for x in arrays))


def tensor(array: np.ndarray) -> torch.Tensor:
    """Convert an array to a tensor, sharing its memory if possible. Handles ml_dtypes' bfloat16 arrays too."""
    array = array if array.flags.writeable and array.flags.c_contiguous else np.array(array, order="C")
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)
