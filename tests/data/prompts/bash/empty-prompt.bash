# PS1 is the empty string: an idle shell is an empty row
PS1=
