# a made-up directory name with blanks and a dollar in front of the real path
PS1='~/My Documents/price in $ list [\w] \$ '
