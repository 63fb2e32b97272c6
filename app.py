"""What `cdk` runs."""

from infra.compose import main

main()
