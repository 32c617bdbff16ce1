# the typed text touches the dollar sign
PS1='\W$'
