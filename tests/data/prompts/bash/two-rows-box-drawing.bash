# two rows held together by box-drawing corners; the lower row is only a corner, a half line and a dollar
PS1='\[\e[34m\]╭─\[\e[0m\](\u@\h)─[\w]\n\[\e[34m\]╰─\[\e[0m\]\$ '
HISTCONTROL=ignorespace:erasedups
