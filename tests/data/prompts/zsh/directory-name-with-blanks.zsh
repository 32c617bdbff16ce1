# a made-up directory name with blanks and a percent sign in front of the real path
PROMPT='~/My Documents/20 %% off [%~] %# '
