"""Continue the beginnings of utterances in text and speech: continuations.jsonl, manifest.jsonl and audio.

    python scripts/spiritlm_continue.py --model model/ --manifest speech/manifest.jsonl --streams streams.jsonl \\
        --vocoder vocoder/ --limit 20 --temperature 0.8 --top-p 0.95 --out continuations/

Directions: t-t, s-s, t-s, s-t (given - written). Without --temperature the most likely token is taken.
"""

from __future__ import annotations

import argparse

from spire.errors import run_main


def main(argv: list[str] | None = None) -> int:
    from spiritlm.generation.arguments import add_model_arguments, how, open_writer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--streams", required=True, help="units in the order of the manifest")
    parser.add_argument("--vocoder", help="folder of a vocoder, for directions that end in speech")
    parser.add_argument("--speaker", type=int, default=2)
    parser.add_argument("--limit", type=int, default=0, help="only so many utterances, spread evenly (0: all)")
    parser.add_argument("--directions", default="t-t,s-s,t-s,s-t")
    parser.add_argument("--share", type=float, default=0.5, help="of an utterance that is the prompt")
    parser.add_argument("--max-new-text", type=int, default=30)
    parser.add_argument("--max-new-speech", type=int, default=200)
    parser.add_argument("--out", required=True)
    add_model_arguments(parser)
    args = parser.parse_args(argv)

    from spiritlm.generation.continuation import Plan, continuations, write_continuations
    from spiritlm.generation.ranks import Ranks
    from spiritlm.generation.streams import read_spoken
    from spiritlm.generation.voice import Voice

    limits = (args.max_new_text, args.max_new_speech)
    plan = Plan(tuple(args.directions.replace(",", " ").split()), args.share, limits, tuple(how(args).items()))
    items = read_spoken(args.manifest, args.streams)
    if 0 < args.limit < len(items):
        items = [items[i * len(items) // args.limit] for i in range(args.limit)]
    writer = open_writer(args, Ranks())
    voice = Voice(args.vocoder, args.speaker) if args.vocoder else None
    write_continuations(args.out, continuations(writer, items, plan), voice)
    return 0


if __name__ == "__main__":
    run_main(main)
