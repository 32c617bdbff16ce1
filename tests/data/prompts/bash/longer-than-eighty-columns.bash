# a prompt of more than eighty columns that wraps by itself in a row of eighty
PS1='[\u@a-machine-with-quite-a-long-name.department.example.org] [\W] [production-cluster-eu-west-1] [default] \$ '
