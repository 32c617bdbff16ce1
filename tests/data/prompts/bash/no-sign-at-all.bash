# a word and a blank, no sign whatever
PS1='ready '
