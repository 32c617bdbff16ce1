# a word and a blank, no sign whatever
PROMPT='ready '
