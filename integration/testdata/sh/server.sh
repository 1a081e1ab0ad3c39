# server.sh: runs a server (arguments 3 and on) until the go file is there.
go=$1 log=$2
shift 2
"$@" >/dev/null &
echo ready >>"$log"
while [ ! -e "$go" ]; do
	sleep 0.05
done
kill $!
wait $!
echo ok >>"$log"
