# two blanks after the sign, so that a trimmed row is two short
PS1='\w \$  '
