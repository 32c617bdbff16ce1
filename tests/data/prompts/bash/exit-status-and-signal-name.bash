# says nothing after a success, the number and signal name after a failure, and keeps the status for the user
__status() {
  local rc=$?
  STATUS_PART=
  if (( rc > 128 )) && kill -l "$rc" >/dev/null 2>&1; then
    STATUS_PART="SIG$(kill -l "$rc") "
  elif (( rc )); then
    STATUS_PART="✘$rc "
  fi
  return $rc
}
PROMPT_COMMAND=__status
PS1='\[\e[31m\]${STATUS_PART}\[\e[0m\]\W \$ '
