"""Continue the prompts of STSP: generations.jsonl, setup.json, and for speech manifest.jsonl and audio.

    python scripts/spiritlm_stsp_generate.py --model model/ --stsp emov/ --speech emov/manifest.jsonl,streams.jsonl \\
        --vocoder vocoder/ --temperature 0.8 --top-p 0.95 --out generations/
    srun --ntasks 16 python scripts/spiritlm_stsp_generate.py ... --shots 6 --runs 3

Directions: given - written, of t and s. Started by srun or torchrun, the processes share the items.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main


def main(argv: list[str] | None = None) -> int:
    from spiritlm.generation.arguments import add_model_arguments, open_writer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stsp", type=Path, required=True, help="folder of spiritlm_stsp_data.py")
    parser.add_argument(
        "--speech", nargs="*", default=[], metavar="MANIFEST,STREAMS", help="units of its audio, where speech is given"
    )
    parser.add_argument("--direction", default="s-s")
    parser.add_argument("--shots", type=int, default=0, help="solved examples before an item: 0, 3, 6, 9")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--max-new", type=int, default=0, help="tokens (0: 300 for speech, 50 for text)")
    parser.add_argument("--tries", type=int, default=3, help="of an item that nothing usable was written for")
    parser.add_argument("--vocoder", help="folder of a vocoder, for directions that end in speech")
    parser.add_argument("--speaker", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    add_model_arguments(parser)
    args = parser.parse_args(argv)
    if not args.temperature:
        raise UserError("STSP draws its tokens", hint="--temperature 0.8 --top-p 0.95, as published")

    from spiritlm.generation.ranks import Ranks
    from spiritlm.generation.streams import spoken_by_audio
    from spiritlm.generation.voice import Voice
    from spiritlm.stsp.data import read_items, read_shots
    from spiritlm.stsp.generate import NEW_SPEECH, NEW_TEXT, Setup, generate, write_generations

    limit = args.max_new or (NEW_SPEECH if args.direction.endswith("s") else NEW_TEXT)
    drawn = (args.temperature, args.top_p, args.seed)
    setup = Setup(args.direction, args.shots, args.runs, limit, args.tries, *drawn)
    if args.direction.endswith("s") and not args.vocoder:
        raise UserError(f"{args.direction} ends in speech", hint="give --vocoder")
    items, shots = read_items(args.stsp), read_shots(args.stsp, args.direction)
    spoken = {}
    if args.direction.startswith("s") or (args.shots and "s" in args.direction):
        if not args.speech:
            raise UserError(f"{args.direction} needs units of speech", hint="give --speech MANIFEST,STREAMS")
        pairs = [pair.split(",", 1) for pair in args.speech]
        wanted = {item.id for item in items} if args.direction.startswith("s") else set()
        if args.shots:
            wanted |= {value for shot in shots for value in (shot.prompt, shot.generation)}
        spoken = spoken_by_audio(args.stsp / "manifest.jsonl", pairs, wanted.__contains__)
    ranks = Ranks.of()
    writer = open_writer(args, ranks)
    rows = generate(writer, items, shots, spoken, setup, args.out, ranks)
    if rows is not None:
        voice = Voice(args.vocoder, args.speaker) if args.vocoder else None
        write_generations(args.out, rows, setup, voice)
        print(f"{sum(bool(row['written']) for row in rows)} of {len(rows)} continued")
    return 0


if __name__ == "__main__":
    run_main(main)
