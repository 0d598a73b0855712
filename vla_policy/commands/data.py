"""Look at data sets and bags, check, change and convert them: `vla data VERB ...`; `vla data VERB --help` for each."""

from __future__ import annotations

import argparse
import importlib

# Verb -> the module with its add_arguments(parser) and run(args), and its help text.
VERBS = {
    "info": ("vla_policy.commands.data_info", "say what a data set holds"),
    "check": ("vla_policy.commands.data_check", "find what is wrong with recorded data"),
    "compare": ("vla_policy.commands.data_compare", "errors of a policy on recorded observations"),
    "convert": (
        "vla_policy.commands.data_convert",
        "bags, older sets and shards to a set, and back to shards",
    ),
    "events": (
        "vla_policy.commands.data_events",
        "what the robot was told, refused and held, in order",
    ),
    "view": ("vla_policy.commands.data_view", "one HTML file to look at episodes"),
    "stats": ("vla_policy.commands.data_stats", "compute its statistics from all data"),
    "merge": ("vla_policy.commands.data_merge", "several sets as one"),
    "split": ("vla_policy.commands.data_split", "one set as several"),
    "edit": (
        "vla_policy.commands.data_edit",
        "delete episodes, change the words of tasks, rename",
    ),
    "web": ("vla_policy.commands.data_web", "make named pictures of things from public packages"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla data`: a verb, and those declared by its module."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(f"  {verb:<9}{does}" for verb, (_, does) in VERBS.items())
    parser.add_argument("verb", choices=tuple(VERBS), metavar="VERB", help="what to do")
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="...", help="arguments of the verb"
    )
    parser.set_defaults(parser_class=parser.__class__)  # for the verbs, too


def run(args: argparse.Namespace) -> int:
    """Pass the arguments to the verb's module, which is imported only now."""
    module = importlib.import_module(VERBS[args.verb][0])
    parser = args.parser_class(prog=f"vla data {args.verb}", description=module.__doc__)
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(args.words)))
