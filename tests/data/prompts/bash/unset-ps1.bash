# PS1 is not merely empty but unset, together with PS2
unset PS1 PS2
