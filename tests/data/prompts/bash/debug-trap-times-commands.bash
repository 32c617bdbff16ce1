# a DEBUG trap starts a stopwatch, PROMPT_COMMAND stops it and shows how many seconds went by
__sw_start() { : "${SW_T0:=$SECONDS}"; }
__sw_stop() { local rc=$?; SW_SHOWN=$(( SECONDS - ${SW_T0:-$SECONDS} )); unset SW_T0; return $rc; }
PROMPT_COMMAND=__sw_stop
trap __sw_start DEBUG
PS1='took ${SW_SHOWN}s \W ❯ '
