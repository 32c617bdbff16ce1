# the default of a plain distribution: host and a percent sign or hash, nothing else set
PROMPT='%m%# '
