# the prompt has exactly as many columns as the terminal; the cursor waits at the start of the next row
__exact() {
  local pad
  printf -v pad '%*s' "$(( ${COLUMNS:-80} - 8 ))" ''
  PS1="exact ${pad// /-}\$ "
}
PROMPT_COMMAND=__exact
