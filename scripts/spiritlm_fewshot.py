"""Recognition, speaking or intents from examples in the prompt: answers.jsonl, setup.json, and for tts audio.

    python scripts/spiritlm_fewshot.py --task asr --test-set asr_clean --model model/ \\
        --speech test/manifest.jsonl,streams.jsonl --shots-from dev/manifest.jsonl,dev_streams.jsonl --out answers/
    torchrun --nproc-per-node 8 scripts/spiritlm_fewshot.py --task tts --vocoder vocoder/ --stop-units "[Hu7][Hu81]" ...

Tasks: asr, tts, ic. Started by srun or torchrun, the processes share the utterances.
"""

from __future__ import annotations

import argparse

from spire.errors import UserError, run_main


def main(argv: list[str] | None = None) -> int:
    from spiritlm.fewshot.prompts import TASKS
    from spiritlm.generation.arguments import add_model_arguments, how, open_writer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--test-set", required=True, help="its name, such as asr_clean")
    parser.add_argument("--speech", required=True, metavar="MANIFEST,STREAMS")
    parser.add_argument("--shots-from", default="", metavar="MANIFEST,STREAMS", help="where examples come from")
    parser.add_argument("--shots", type=int, default=10, help="solved examples before a question")
    parser.add_argument("--context", type=int, default=0, help="tokens of prompt and answer (0: the model's)")
    parser.add_argument("--max-new", type=int, default=256)
    parser.add_argument("--limit", type=int, default=0, help="only the first so many utterances (0: all)")
    parser.add_argument("--vocoder", help="folder of a vocoder (tts)")
    parser.add_argument("--speaker", type=int, default=2)
    parser.add_argument("--stop-units", default="", help='the units of a spoken "stop", as a string (tts)')
    parser.add_argument("--out", required=True)
    add_model_arguments(parser)
    args = parser.parse_args(argv)
    if args.task == "tts" and not args.vocoder:
        raise UserError("tts ends in speech", hint="give --vocoder")
    if args.shots and not args.shots_from:
        raise UserError("no --shots-from MANIFEST,STREAMS", hint="--shots 0 asks without examples")

    from spiritlm.fewshot.answers import Setup, answer_all, write_answers
    from spiritlm.generation.ranks import Ranks
    from spiritlm.generation.streams import read_spoken
    from spiritlm.generation.voice import Voice

    items = read_spoken(*_two(args.speech))[: args.limit or None]
    pool = read_spoken(*_two(args.shots_from)) if args.shots else []
    setup = Setup(args.task, args.test_set, args.shots, args.context, args.max_new, args.seed, args.stop_units)
    ranks = Ranks.of()
    writer = open_writer(args, ranks)
    rows = answer_all(writer, items, pool, setup, how(args), args.out, ranks)
    if rows is not None:
        voice = Voice(args.vocoder, args.speaker) if args.task == "tts" else None
        record = writer.identity | (how(args) or {"strategy": "greedy"})
        write_answers(args.out, rows, items, setup, record, voice)
        print(f"{sum(row['finished'] for row in rows)} of {len(rows)} answers ended by themselves")
    return 0


def _two(given: str) -> tuple[str, str]:
    manifest, _, streams = given.partition(",")
    if not streams:
        raise UserError(f"{given!r} is not MANIFEST,STREAMS", hint="the streams are those of the manifest")
    return manifest, streams


if __name__ == "__main__":
    run_main(main)
