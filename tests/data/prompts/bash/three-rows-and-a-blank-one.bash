# four rows: an empty one, then user, then path, then the sign
PS1='\n┌ \u at \h\n├ \w\n└ λ '
