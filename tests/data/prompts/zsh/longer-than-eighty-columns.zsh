# a prompt of more than eighty columns that wraps by itself in a row of eighty
PROMPT='[%n@a-machine-with-quite-a-long-name.department.example.org] [production-cluster-eu-west-1] [default] %1~ %# '
