# the typed text touches the percent sign
PROMPT='%1~%#'
