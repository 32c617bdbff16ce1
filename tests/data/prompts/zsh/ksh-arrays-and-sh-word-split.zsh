# ksh_arrays, sh_word_split and glob_subst are set, so code written for plain zsh counts wrongly
setopt ksh_arrays sh_word_split
PROMPT='ksh %1~ $ '
