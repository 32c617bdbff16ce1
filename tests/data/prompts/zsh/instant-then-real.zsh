# an instant prompt is on the screen while the start is still slow; it is wiped and the real one drawn in its place
print -rn -- '~ ❯ '
sleep 1
print -n -- '\r\e[K'
PROMPT='%F{cyan}%~%f ❯ '
