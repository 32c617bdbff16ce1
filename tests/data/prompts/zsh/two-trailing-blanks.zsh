# two blanks after the sign
PROMPT='%1~ »  '
