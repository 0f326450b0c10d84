//! Examples at the end of the help of verbs. What follows three spaces on a line of them is said, not typed.

pub(super) const ISO: &str = "\
Examples:
  iso up                                             six PoPs, a shield, two origins, two routers
  iso up --origin app=http://127.0.0.1:3000@us-east-1   your own app behind the CDN
  iso curl --from tokyo --ledger -- https://www.demo.test/
  iso kill fra --for 30s
  iso chaos run edge-dies                            a scenario with a verdict
  iso status

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no such world is running, 10 an expectation of a scenario
was missed, 11 a scenario could not start, 130 interrupted.";

pub(super) const UP: &str = "\
Examples:
  iso up                                                 the built-in world, until Ctrl-C
  iso up -d --wait                                       in the background; back when it is healthy
  iso up --preset world-18 --shield fra
  iso up --origin app=http://localhost:3000@us-east-1 --host www.shop.test
  iso up --origin app=http://localhost:3000@us-east-1 --origin sorry=./maintenance@eu-west-1 --failover app,sorry
  iso up --config cluster.toml --world staging --base-port 0

Exit codes: 0 it is up (-d) or was stopped by `iso down`, 1 it could not start, 2 wrong usage or configuration, 130 Ctrl-C.";

pub(super) const DOWN: &str = "\
Examples:
  iso down
  iso down --world staging";

pub(super) const STATUS: &str = "\
Examples:
  iso status
  iso status --json | jq '.nodes[] | select(.health != \"up\") | .id'";

pub(super) const LOGS: &str = "\
Examples:
  iso logs                     the last lines of every node
  iso logs -f edge.fra         one node, as it goes on
  iso logs -n 20 --json router.iad

One --json document per line. Ctrl-C ends -f.";

pub(super) const WAIT: &str = "\
Examples:
  iso wait --for healthy --timeout 10s

Exit codes: 0 it is, 1 it was not in time, 3 no such world is running.";

pub(super) const DOCTOR: &str = "\
Examples:
  iso doctor                   this machine, and the default world if it runs
  iso doctor --world staging --json";

pub(super) const OPEN: &str = "\
Examples:
  iso open
  iso open --json              only print the address";

pub(super) const CURL: &str = "\
Examples:
  iso curl --from tokyo -- https://www.demo.test/
  iso curl --from tokyo --ledger -- -sI http://www.demo.test/
  iso curl --from lima --warm --ledger -- -s -o /dev/null https://www.demo.test/
  iso curl --from 'sao paulo' --resolver frankfurt --no-ecs -- -s http://www.demo.test/";

pub(super) const DIG: &str = "\
Examples:
  iso dig --from nairobi www.demo.test
  iso dig --from NRT --short www.demo.test AAAA
  iso dig --from nairobi --resolver frankfurt --no-ecs www.demo.test     a far resolver that says nothing of its client
  iso dig --from lima _why.www.demo.test TXT                             why these edges";

pub(super) const PROXY: &str = "\
Examples:
  iso proxy
  curl -x \"http://tokyo@$(iso proxy)\" http://www.demo.test/";

pub(super) const IN: &str = "\
Examples:
  iso in tokyo -- wget -qO- http://www.demo.test/
  iso in 'sao paulo' -- npx playwright test";

pub(super) const LOAD: &str = "\
Examples:
  iso load --from world --rps 200 --for 30s               users of all cities, Zipf over 1000 objects
  iso load --from tokyo,osaka --rps 50 --for 10s --paths /index.html
  iso load --rps 500 --for 1m --paths zipf:0.9:100000 --size 20KiB
  iso load --for 5m --paths trace:requests.csv            time,id,size per line, at its own pace
  iso load --rps 100 --for 10s --json

Requests start when they are meant to, whatever became of the others, and latency counts from then. Objects are
/objects/N of the simulated origins, /bytes/SIZE/N where a size is given; bodies are checked. Ctrl-C prints the figures so
far and exits with 130.";

pub(super) const KILL: &str = "\
Examples:
  iso kill fra --for 30s       every edge of the PoP, started again after half a minute
  iso kill router.iad origin.primary";

pub(super) const START: &str = "\
Examples:
  iso start fra
  iso start router.iad origin.primary";

pub(super) const PAUSE: &str = "\
Examples:
  iso pause edge.fra --for 10s     it accepts connections still, and answers nobody
  iso pause origin.primary";

pub(super) const RESUME: &str = "\
Examples:
  iso resume edge.fra origin.primary";

pub(super) const FAULT: &str = "\
Examples:
  iso fault primary --status 503 --rate 30% --for 60s
  iso fault primary --latency 800ms --path '/api/*' --from FRA
  iso fault primary --refuse           a failover that takes one round trip
  iso fault primary --blackhole        and one that takes every timeout
  iso fault edge.fra --reset --rate 0.5 --for 20s

`iso heal` undoes them, `iso status` lists them.";

pub(super) const LINK: &str = "\
Examples:
  iso link fra iad --delay +80ms --loss 5% --for 60s
  iso link fra us-east-1 --partition
  iso link tokyo nrt --throttle 2M --one-way";

pub(super) const HEAL: &str = "\
Examples:
  iso heal                     everything
  iso heal primary";

pub(super) const DRAIN: &str = "\
Examples:
  iso drain FRA                no answer leads there from now on; its connections finish
  iso drain FRA NRT";

pub(super) const UNDRAIN: &str = "\
Examples:
  iso undrain FRA";

pub(super) const ROUTE: &str = "\
Examples:
  iso route                                   what is in force
  iso route policy anycast                    every distribution without a policy of its own
  iso route policy geo --distribution shop    one distribution
  iso route policy default --distribution shop   back to the world's";

pub(super) const ROUTE_POLICY: &str = "\
Examples:
  iso route policy anycast
  iso route policy geo --distribution shop";

pub(super) const EXPLAIN: &str = "\
Examples:
  iso explain route --from lima https://www.demo.test/
  iso explain cache --from tokyo 'http://www.demo.test/app.js?utm=x'
  iso explain origin --from tokyo http://www.demo.test/cart
  iso explain sign -b jar.txt http://www.demo.test/private/a.mp4";

pub(super) const EXPLAIN_ROUTE: &str = "\
Examples:
  iso explain route --from lima https://www.demo.test/
  iso explain route --from nairobi --resolver frankfurt --no-ecs
  iso explain route --from berlin --what-if drain=FRA
  iso explain route --replay ID        one that was printed, logged or answered before";

pub(super) const EXPLAIN_SIGN: &str = "\
Examples:
  iso explain sign -b jar.txt http://www.demo.test/private/a.mp4
  iso explain sign --matrix --from tokyo 'http://www.demo.test/a?Expires=1&Signature=x&Key-Pair-Id=K1'";

pub(super) const INVALIDATE: &str = "\
Examples:
  iso invalidate /app.js '/images/*'
  iso invalidate '/*' --distribution demo --watch";

pub(super) const CACHE: &str = "\
Examples:
  iso cache where /app.js
  iso cache show /app.js --at FRA
  iso cache stats";

pub(super) const CACHE_WHERE: &str = "\
Examples:
  iso cache where /app.js
  iso cache where http://www.demo.test/app.js --json";

pub(super) const CACHE_SHOW: &str = "\
Examples:
  iso cache show /app.js --at FRA
  iso cache show '/app.js?v=2'";

pub(super) const CACHE_STATS: &str = "\
Examples:
  iso cache stats
  iso cache stats --json | jq '.nodes[].stats.bytes'";

pub(super) const CHAOS: &str = "\
Examples:
  iso chaos list
  iso chaos run edge-dies
  iso chaos swarm --seeds 1000";

pub(super) const CHAOS_RUN: &str = "\
Examples:
  iso chaos run edge-dies                               one of those that `iso chaos list` shows
  iso chaos run chaos/*.toml --junit out/iso.xml --html out/iso.html
  iso chaos run lose-frankfurt.toml --seed 7 --json
  iso chaos run --sim edge-dies --seeds 50              in virtual time, on all cores: how far apart the seeds lie
  iso chaos run lose-frankfurt.toml --world staging     in a world that runs

Exit codes: 0 everything held, 10 an expectation was missed, 11 a scenario could not start, 130 interrupted.";

pub(super) const CHAOS_AGREE: &str = "\
Examples:
  iso chaos agree edge-dies
  iso chaos agree tests/scenarios --requests requests.csv";

pub(super) const CHAOS_LIST: &str = "\
Examples:
  iso chaos list
  iso chaos list --json | jq -r '.scenarios[].name'";

pub(super) const DRILL: &str = "\
Examples:
  iso drill
  iso drill --seed 7 --for 30s --rps 100     the same failure again";

pub(super) const WORLD: &str = "\
Examples:
  iso world rtt tokyo us-east-1
  iso world places san";

pub(super) const WORLD_RTT: &str = "\
Examples:
  iso world rtt tokyo us-east-1
  iso world rtt 'sao paulo' FRA --seed 7 --json
  iso world rtt --csv pairs.csv";

pub(super) const WORLD_PLACES: &str = "\
Examples:
  iso world places san
  iso world places --json | jq -r '.[].id'";

pub(super) const CONFIG: &str = "\
Examples:
  iso config init
  iso config check cluster.toml
  iso config apply cluster.toml --on FRA";

pub(super) const CONFIG_CHECK: &str = "\
Examples:
  iso config check
  iso config check staging.toml --json";

pub(super) const CONFIG_INIT: &str = "\
Examples:
  iso config init
  iso config init staging.toml --force";

pub(super) const CONFIG_APPLY: &str = "\
Examples:
  iso config apply cluster.toml              every cache
  iso config apply cluster.toml --on FRA     a canary
  iso config apply                           back to what each was started with";

pub(super) const CONFIG_SCHEMA: &str = "\
Examples:
  iso config schema > cluster.schema.json";

pub(super) const TRUST: &str = "\
Examples:
  iso trust --print            only the commands that do it
  iso trust";

pub(super) const UNTRUST: &str = "\
Examples:
  iso untrust";

pub(super) const COMPLETIONS: &str = "\
Examples:
  iso completions bash > ~/.local/share/bash-completion/completions/iso
  iso completions fish > ~/.config/fish/completions/iso.fish";

pub(super) const MAN: &str = "\
Examples:
  iso man | man -l -
  iso man chaos run | man -l -
  iso man --out ~/.local/share/man/man1     then: man iso-chaos-run";
