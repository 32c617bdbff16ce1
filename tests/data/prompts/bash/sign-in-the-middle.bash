# a dollar in the middle of the prompt and an angle at its end; cutting at the first sign leaves rubbish
PS1='a $ b > '
