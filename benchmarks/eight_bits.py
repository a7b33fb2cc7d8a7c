"""What weights in eight bits cost: bits per byte of a text under the network alone, at each checkpoint of a training.

python benchmarks/eight_bits.py MODEL TEXT
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from common import parse_arguments

from gru_complete.arrays import Float32Array
from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.model.quantized import dequantize, quantize
from gru_complete.nn.language_model import LanguageModel, load_weights
from gru_complete.text.tokenizer import DOCUMENT_END
from gru_complete.training.scoring import score_tokens


def bits_per_byte(model: LoadedModel, weights: Mapping[str, Float32Array], text: bytes) -> float:
    """What the text costs under the network with these weights."""
    network = LanguageModel(**model.manifest.arch._asdict())
    load_weights(network, weights)
    tokens = np.array([DOCUMENT_END, *model.tokenizer.encode(text), DOCUMENT_END])
    return score_tokens(network, [tokens]).total_nats / math.log(2) / len(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="whose checkpoints are read")
    parser.add_argument("text", type=Path)
    options = parse_arguments(parser, smoke="{dir}/model {dir}/text.txt")
    text = options.text.read_bytes()
    for path in sorted(options.model.with_name(f"{options.model.name}.run").glob("checkpoints/step-*")):
        model = load_model(path)
        eight = dequantize(quantize(model.weights), model.manifest.arch.tensor_shapes(), name=path.name)
        costs = [bits_per_byte(model, weights, text) for weights in (model.weights, eight)]
        print(f"{path.name}: {costs[0]:.5f} in float32, {costs[1]:.5f} in eight bits, {costs[1] - costs[0]:+.5f}")


if __name__ == "__main__":
    main()
