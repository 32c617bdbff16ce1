# classic: a frame of two rows, the upper filled with a rule up to a right corner, the lower with a right corner of its own
setopt prompt_subst
_frame_pre() {
  local left=" %n  %~ " right=" %D{%H:%M} " plain
  plain=${(%)left}${(%)right}
  local -i n=$(( COLUMNS - ${#plain} - 4 ))
  (( n < 0 )) && n=0
  _frame_fill=${(l:$n::─:)}
  PROMPT="╭─%K{236}${left}%k${_frame_fill}%K{236}${right}%k─╮"$'\n'"╰─ "
  RPROMPT='─╯'
}
precmd_functions+=(_frame_pre)
