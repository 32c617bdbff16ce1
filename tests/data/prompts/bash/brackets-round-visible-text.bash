# \[ \] wrongly put round visible text, so readline believes the prompt to be empty
PS1='\[\e[33m\W\e[0m % \]'
