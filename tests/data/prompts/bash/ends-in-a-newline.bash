# the prompt ends in a newline, so one types on an empty row at column 0
PS1='\u in \w\n'
