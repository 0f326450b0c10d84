"""Where should the clients of a network go?  One question per line on stdin, one answer per line on stdout."""

import json
import sys


def choose(question):
    """The PoPs of a question, best first. This one looks at distance and at health: what else should it look at?

    question["client"]  the clients' network, such as "198.18.63.0/24"
    question["city"]    where they are
    question["pops"]    the candidates, each with
        "id"       its code, such as "fra"
        "rtt_ms"   the round trip from the clients to it, as far as it is known
        "healthy"  whether it answers
        "load"     what it serves over what it can bear: 1.0 is full; null where nobody knows
    """
    pops = [pop for pop in question["pops"] if pop["healthy"]]
    pops.sort(key=lambda pop: pop["rtt_ms"])
    return [pop["id"] for pop in pops]


def main():
    for line in sys.stdin:
        question = json.loads(line)
        best = choose(question) or [pop["id"] for pop in question["pops"]]
        print(json.dumps(best[:3]), flush=True)


if __name__ == "__main__":
    main()
