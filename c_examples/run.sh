# Runs the examples that the Makefile has built, and says what happened.
# Ends with 0 if all went well, and leaves nothing running.
set -eu
cd "$(dirname "$0")"
PATH=$PWD/build:$PATH
python=${PYTHON:-python3}
tmp=$(mktemp -d)
servers= # the last one first
out=2    # the descriptor that reads from the last one

cleanup() {
    for server in $servers; do
        kill "$server" 2>/dev/null && wait "$server" || true
    done
    rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

say() {
    printf '\n== %s\n' "$*"
}

has() {
    command -v "$1" >/dev/null
}

ask() {
    curl -q --noproxy '*' -sS -m 10 "$@"
}

# begin COMMAND...: starts a server and reads from its first line where it
# listens: $port. A server that hangs is ended after a minute.
begin() {
    rm -f "$tmp/out"
    mkfifo "$tmp/out"
    timeout 60 "$@" >"$tmp/out" &
    servers="$! $servers"
    out=$((out + 1))
    eval "exec $out<'$tmp/out'"
    read -r line <&$out
    echo "$line"
    port=${line##*:}
}

# end [SIGNAL]: stops the last server, as Ctrl-C does where nothing else is
# said; it has to end with 0.
end() {
    server=${servers%% *}
    kill "-${1:-INT}" "$server"
    cat <&$out
    eval "exec $out<&-"
    out=$((out - 1))
    wait "$server"
    servers=${servers#* }
    echo "(ended with 0)"
}

say "Echo: a server in C, with a client in C and one in Python"
begin echo_server
timeout 30 echo_client "$port"
if has "$python"; then
    timeout 30 "$python" python_echo.py client "$port"
else
    echo "($python is not installed: no Python client)"
fi
end

if has "$python"; then
    say "Echo: a server in Python, with a client in C"
    begin "$python" python_echo.py server
    timeout 30 echo_client "$port" 20 50
    end
fi

say "A proxy in front of the echo server"
begin echo_server
begin tcp_proxy "localhost:$port"
timeout 30 echo_client "$port"
end
end

say "HTTP: asked by dial; by curl, whose second request takes the same connection"
begin http_hello
printf 'GET / HTTP/1.0\r\n\r\n' | timeout 30 dial tcp "localhost:$port"
if has curl; then
    url=http://127.0.0.1:$port
    ask -i -w '(connections made for it: %{num_connects})\n\n' "$url/" "$url/"
    ask -I "$url/"
    code=$(ask -o /dev/null -w '%{http_code}' "$url/nothing")
    echo "GET /nothing: $code"
    [ "$code" = 404 ]
else
    echo "(curl is not installed: nobody asks)"
fi
end

say "Files over HTTP, whole and in part"
mkdir "$tmp/www"
echo 'Hello, file!' >"$tmp/www/hello.txt"
begin static_http "$tmp/www"
if has curl; then
    ask -i "http://127.0.0.1:$port/hello.txt"
    part=$(ask -r 7-10 "http://127.0.0.1:$port/hello.txt")
    echo "Bytes 7 to 10 of it: $part"
    [ "$part" = file ]
fi
end

say "Evict: blocked calls whose descriptor is destroyed"
timeout 30 evict

say "Deadlines"
timeout 30 deadline

say "Echo over unix sockets"
timeout 30 unix_echo

say "Echo over UDP, in batches"
timeout 30 udp_echo

say "Descriptors passed to another process"
timeout 30 pass_fd

say "Socket activation: the listener is there before the server"
timeout 30 systemd || echo "(ended with $?)"
if has "$python"; then
    # What systemd does: the socket is number 3, and the environment says so.
    begin "$python" -c '
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execvp(sys.argv[1], sys.argv[1:])' systemd
    timeout 30 "$python" -c '
import socket, sys
server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(server.makefile().read(), end="")' "$port"
    end TERM
else
    echo "($python is not installed: nobody passes a socket)"
fi

say "A scan of ports, by threads that dial"
timeout 30 port_scan

say "Fibers: an echo server, and a proxy in front of it"
begin fiber_echo
begin fiber_proxy "localhost:$port"
timeout 30 echo_client "$port"
end
end

say "Fibers: HTTP, with a hundred connections at once"
begin fiber_http
if has curl; then
    ask -i "http://127.0.0.1:$port/"
fi
if has wrk; then
    wrk -t1 -c100 -d1s "http://127.0.0.1:$port/" | grep -v '^Running'
else
    echo "(wrk is not installed: no hundred)"
fi
end

say "Fibers: a chat"
begin fiber_chat
talkers=
for name in Ann Bob Eve; do
    { echo "This is $name" && sleep 1; } | timeout 30 dial tcp "localhost:$port" \
        | sed "s/^/$name hears: /" &
    talkers="$talkers $!"
done
wait $talkers
end

say "C++: a fiber per connection, and a netcat"
begin echo_server_cpp
timeout 30 echo_client "$port"
echo "Is anybody there?" | timeout 30 dial_cpp tcp "localhost:$port"
end
if timeout 30 dial_cpp tcp 127.0.0.1:1 </dev/null; then exit 1; fi

say "Fibers: TLS"
if [ "${TLS:-}" ]; then
    timeout 30 fiber_tls
else
    echo "(OpenSSL's headers are not installed: fiber_tls is left out)"
fi

# neighbour PROGRAM WHAT [ARGUMENTS...]: each checks what it claims, and says so.
neighbour() {
    program=$1 library=$2
    shift 2
    say "Neighbours: $library"
    case " ${NEIGHBOURS:-} " in
    *" $program "*) NETFD_WORKERS=1 timeout 60 "$program" "$@" ;;
    *) echo "($library's headers are not installed: $program is left out)" ;;
    esac
}

neighbour openssl_bio OpenSSL
neighbour libcurl_fetch libcurl
neighbour libuv_handoff libuv
neighbour asio_handoff asio

say "All went well"
