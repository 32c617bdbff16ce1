# setopt single_line_zle edits in one row that scrolls sideways
setopt single_line_zle
PROMPT=$'%1~ upper\nlower %# '
