"""Labs: whole networks in network namespaces of one machine, built from topologies written as data.

A lab drives Fairlead from outside, as an operator would: through the `fairlead` command and the wire. Nothing here imports the
rest of the package, and nothing of the machine's own network is touched.

    topology.py      the values a topology is written in
    topologies/      one file a topology: the drawing and the data
    plan.py          pure: topology -> text for `ip -batch`, sysctls
    wiring.py        namespaces, cables and ports as the plan says
    services.py      pure: host -> the daemon it runs and its configuration files
    namespaces.py    run things inside namespaces, find and kill what runs there
    supervisor.py    the parent of every daemon of a lab
    life.py          up, down, status, list, exec
    ready.py         whether it works yet, and if not, what is in the way
    client.py        an HTTP client that opens a fresh connection for each request and never retries
    demo.py          the story that `make demo` tells
    cli.py           `fairlead lab ...`
"""
