#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# For a guest:
#   rxe.sh up DEVICE		a soft RoCE device, on a network device that sends nothing
#   rxe.sh both PROGRAM...	a program as its manual page says: a server, and its client
exec 2>&1

up() {
	ip link set lo up &&
		ip addr add 192.0.2.1/24 dev dummy0 &&
		ip link set dummy0 mtu 9000 up &&
		rdma link add "$1" type rxe netdev dummy0 &&
		rdma link show
}

# Until the server listens a client fails; so does one that does not work, each time.
both() {
	echo "$@"
	"$@" >/tmp/server &
	server=$!
	for _ in $(seq 60); do
		"$@" 127.0.0.1 >/tmp/client
		client=$?
		[ $client -ne 0 ] || break
		kill -0 $server 2>/dev/null || break
		sleep 1
	done
	[ "$client" -eq 0 ] || kill $server
	wait $server
	server=$?
	cat /tmp/client
	echo "status: server $server, client $client"
	[ $server -eq 0 ] && [ "$client" -eq 0 ]
}

"$@"
