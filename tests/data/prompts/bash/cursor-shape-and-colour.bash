# the prompt sets a bar cursor and its colour, PS0 sets both back
PS1='\[\e[5 q\e]12;orange\a\]\W ┃ '
PS0='\[\e[0 q\e]112\a\]'
