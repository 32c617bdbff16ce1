# right-aligned user@host printed with printf and a carriage return before the left part is drawn over it
__right_part() {
  local text="[$USER_SHOWN] rc=$1"
  printf '%*s\r' "$(( ${COLUMNS:-80} - 1 ))" "$text"
}
USER_SHOWN=me@box
PS1='\[$(__right_part $?)\]\w > '
