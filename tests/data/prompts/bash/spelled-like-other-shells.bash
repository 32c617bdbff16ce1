# a bash prompt that looks like the one of another shell, with a percent sign, and a fish-like angle in PS2
PS1='\h% '
PS2='user@\h \w> '
