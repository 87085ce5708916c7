#!/bin/sh
# Train one run with two processes on this machine, as a rehearsal of a cluster:
#
#   experiments/launchers/two_processes.sh --config=configs/vanilla.py --workdir=runs/two
#
# The first process listens at PORT, by default a free one. Without accelerators
# XLA_FLAGS=--xla_force_host_platform_device_count=4 gives each process four devices.
find_port='import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
together="--coordinator=127.0.0.1:${PORT:-$(python -c "$find_port")} --num_processes=2"

python -m experiments.train "$@" $together --process_id=1 &
second=$!
python -m experiments.train "$@" $together --process_id=0
code=$?
wait $second || [ $code -ne 0 ] || code=$?
exit $code
