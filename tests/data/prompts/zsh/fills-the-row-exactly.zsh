# the prompt has exactly as many columns as the terminal; the cursor waits at the start of the next row
precmd() { PROMPT="exact ${(l:$(( COLUMNS - 8 ))::-:)}> "; }
