# PS0 writes a row with the time under the typed line before the command runs
PS0='── started \t ──\n'
PS1='\W ▶ '
