# a background loop draws a clock into the top right corner each second while one types, going there and back with the cursor saved
( while kill -0 $$; do printf '\e7\e[1;999H\e[7D\e[7m%(%H:%M:%S)T\e[0m\e8' -1 >/dev/tty; sleep 1; done ) </dev/null >/dev/null 2>&1 &
disown
PS1='tick \w\$ '
