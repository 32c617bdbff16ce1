# an instant prompt is on the screen while the start is still slow; it is wiped and the real one drawn in its place
printf '%s' '… ❯ '
sleep 1
printf '\r\e[K'
PS1='\[\e[35m\]\W\[\e[0m\] ❯ '
